"""Order numbers in what a customer writes, and numbers that are none.

What stands behind "order number" or "#" names an order, and so does a longer number behind "order". A short one behind
"order" is no more than a guess. Amounts, dates, spans of time and the numbers of flats, parcels and tickets name none.
"""

import re
from dataclasses import dataclass

_CERTAIN_DIGITS = 4

_FIND = re.compile(
    r"\b(?:order|bestellung|auftrag|commande)(?:\s?:\s?|\s(?:is\s)?)"
    r"(?P<said>(?:number|nummer|numéro|no\.?|n°|id|nr\.?)\s?(?:is\s|ist\s|est\s|:\s?)?#?\s?|#\s?)?"
    r"(?P<number>[a-z]{0,4}-?\d[a-z0-9-]{2,40})\b"
    r"|\b(?:bestellnummer|auftragsnummer)\s?(?:ist\s|:\s?)?#?\s?(?P<worded>[a-z]{0,4}-?\d[a-z0-9-]{2,40})\b"
    r"|#\s?(?P<hashed>[a-z]{0,4}-?\d[a-z0-9-]{2,40})\b",
    re.IGNORECASE,
)
_PLAIN = re.compile(r"[a-z]{0,4}-?\d{3,}(?:-[a-z0-9]+)*", re.IGNORECASE)
_DATE = re.compile(r"\d{4}-\d{1,2}(?:-\d{1,2})?|\d{1,2}-\d{1,2}-\d{2,4}")
_UNIT = (
    r"(?:percent|prozent|pour cent|eur|euros?|usd|gbp|chf|jpy|cad|aud|sek|dkk|nok|pln|dollars?|pounds?|bucks|"
    r"seconds?|minutes?|hours?|days?|nights?|weeks?|months?|years?|times|"
    r"pieces?|pcs|items?|units?|packs?|pairs?|people|miles|kilometres|kilometers|"
    r"kg|g|grams?|lbs?|oz|mm|cm|m|km|ml|l|litres?|liters?|watts?|volts?|"
    r"minuten|stunden?|tagen?|tage|wochen?|monaten?|monate|jahren?|jahre|stück|"
    r"secondes?|heures?|jours?|semaines?|mois|ans|pièces?|fois|articles?)\b"
)
_MEASURED = re.compile(rf"\s?(?:[%‰€$£¥°]|[.,/:]\d)|[\s-]?{_UNIT}", re.IGNORECASE)
_MEASURE = re.compile(rf"\d+-?{_UNIT}", re.IGNORECASE)
_OTHERS_NUMBER = re.compile(
    r"\b(?:apartment|apt|appartement|appt|wohnung|flat|unit|suite|ste|room|zimmer|floor|étage|building|bâtiment|haus|"
    r"house|door|gate|box|locker|lot|no|nr|tracking|parcel|package|shipment|sendung|paket|colis|ticket|case|invoice|"
    r"rechnung|facture|item|sku|article|artikel|size|phone|top)\.?(?:\s(?:number|nummer|numéro|id|no\.?|nr\.?))?:?\s?$",
    re.IGNORECASE,
)
_BEFORE = 40


@dataclass(frozen=True, slots=True)
class Reference:
    """An order number in a text; `certain` says that an order is named, else it may as well be another number."""

    number: str
    certain: bool


def named(text: str) -> Reference | None:
    """Return the order number in a text: the first that is certain, else the first that may be one."""
    found = [reference for match in _FIND.finditer(text) if (reference := _read(text, match))]
    return next((reference for reference in found if reference.certain), found[0] if found else None)


def _read(text: str, match: re.Match[str]) -> Reference | None:
    """Return what a number in a text names, None when it is no order."""
    number = match["number"] or match["worded"] or match["hashed"]
    if _DATE.fullmatch(number) or _MEASURE.fullmatch(number) or _MEASURED.match(text, match.end()):
        return None
    if match["hashed"] and _OTHERS_NUMBER.search(text[max(0, match.start() - _BEFORE) : match.start()]):
        return None
    if not match["number"] or match["said"]:
        return Reference(number, certain=True)
    if not _PLAIN.fullmatch(number):
        return None
    return Reference(number, certain=sum(sign.isdigit() for sign in number) >= _CERTAIN_DIGITS)
