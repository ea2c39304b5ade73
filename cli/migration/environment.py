"""The predecessor's settings, translated: what to set or to run for each; secrets are named and never shown."""

from collections.abc import Callable, Mapping
from pathlib import Path

from cli.errors import CommandError
from cli.migration.plan import Setting

_SET = "it is set; its value is not repeated here"


def read_environment(path: Path | None) -> dict[str, str]:
    """Read an env file; without one there are no settings.

    Raises:
        CommandError: it cannot be read.
    """
    if path is None:
        return {}
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError(f"Cannot read the settings {path}.", reason="FILE_UNREADABLE") from error
    found = {}
    for line in lines:
        name, equals, value = line.strip().removeprefix("export ").partition("=")
        if equals and name.strip() and not name.startswith("#"):
            found[name.strip()] = value.strip().strip("\"'")
    return found


def translated(found: Mapping[str, str]) -> tuple[Setting, ...]:
    """Return what becomes of each setting that is given, in the order of their names; others are left alone."""
    return tuple(_TRANSLATIONS[name](value) for name, value in sorted(found.items()) if name in _TRANSLATIONS)


def _weight(name: str, ours: str, usual: float, default: float, least: float, most: float) -> Callable[[str], Setting]:
    """Return the translation of a weight: as much more or less than usual there as here, within what is proven."""

    def translate(value: str) -> Setting:
        try:
            wanted = default * float(value) / usual
        except ValueError:
            return Setting(name, "", f"{value[:20]!r} is no number: the default stays")
        chosen = round(min(max(wanted, least), most), 2)
        note = f"{value} there, where {usual:g} was usual"
        if chosen != round(wanted, 2):
            note += f"; {wanted:.2f} lies outside of {least:g} to {most:g}, in which the order is proven"
        if chosen == default:
            return Setting(name, f"nothing: {ours} is {default:g} anyway", note)
        return Setting(name, f"rapport policy set --tenant SHOP --weight {ours}={chosen:g}", note)

    return translate


def _fixed(name: str, ours: str, note: str) -> Callable[[str], Setting]:
    return lambda _value: Setting(name, ours, note)


_TRANSLATIONS: Mapping[str, Callable[[str], Setting]] = {
    "ENCRYPTION_KEY": _fixed(
        "ENCRYPTION_KEY",
        "rapport migrate run … --key-file FILE",
        f"{_SET}. It opens the stored credentials once; afterwards they are sealed under Rapport's own keys "
        "(rapport keys status), and this key is destroyed with the old side",
    ),
    "ADMIN_KEY": _fixed(
        "ADMIN_KEY",
        "SECRETS/operator-key",
        f"{_SET}. It was one key for everything; operators and shops have keys of their own now (rapport key create)",
    ),
    "REDIS_URL": _fixed("REDIS_URL", "RAPPORT_*_VALKEY_URL", "use another, empty server: nothing of the cache moves"),
    "CACHE_TTL": _fixed("CACHE_TTL", "nothing", "what is kept is renewed when it changes, not after a time"),
    "ENABLE_CACHE": _fixed("ENABLE_CACHE", "nothing", "an empty RAPPORT_*_VALKEY_URL turns the cache off"),
    "SCORING_CHURN_WEIGHT": _weight("SCORING_CHURN_WEIGHT", "churn_risk", 3.0, 0.3, 0.3, 1.0),
    "SCORING_VALUE_WEIGHT": _weight("SCORING_VALUE_WEIGHT", "customer_value", 2.0, 0.75, 0.6, 1.0),
    "SCORING_URGENCY_WEIGHT": _weight("SCORING_URGENCY_WEIGHT", "priority", 1.5, 1.0, 0.8, 1.3),
    "TOPIC_ALERT_BOOST": _weight("TOPIC_ALERT_BOOST", "topics", 5.0, 1.0, 0.0, 2.0),
    "GORGIAS_WEBHOOK_SECRET": _fixed(
        "GORGIAS_WEBHOOK_SECRET",
        "rapport connection rotate CONNECTION --tenant SHOP --secret-stdin",
        f"{_SET}. It was one for all shops: give each shop's connection one of its own",
    ),
    "SLACK_WEBHOOK_URL": _fixed(
        "SLACK_WEBHOOK_URL", "the alerts' receiver, see docs/runbook.md", f"{_SET}: it is a secret as well"
    ),
    "ENABLE_PROMETHEUS_METRICS": _fixed(
        "ENABLE_PROMETHEUS_METRICS", "RAPPORT_*_METRICS_LISTEN=0.0.0.0:9100", "each process has its own address"
    ),
}
"""What becomes of each setting, by name."""
