"""What people wrote in the predecessor's tickets. All of it is invented."""

FIRST_NAMES = ("Ada", "Ben", "Chloe", "Dario", "Elif", "Femi", "Greta", "Hugo", "Ines", "Jonas", "Kaya", "Liam", "Mina")
LAST_NAMES = (
    "Abel",
    "Brandt",
    "Costa",
    "Dumont",
    "Eriksen",
    "Farkas",
    "Gruber",
    "Hale",
    "Ito",
    "Jansen",
    "Kovac",
    "Öz",
)

LETTERS = (
    ("Where is my parcel?", "I ordered {product} ten days ago and the tracking has not moved. Where is it?"),
    ("Refund still missing", "You confirmed my return of {product} two weeks ago and nothing has arrived."),
    ("{product} arrived broken", "The box was crushed and {product} is broken. I need it for a birthday."),
    ("Please cancel my order", "I ordered {product} by mistake an hour ago. Please cancel before it ships."),
    ("Wrong item in the box", "Instead of {product} I got something else entirely. How do we swap it?"),
    ("Change of address", "I moved. Can {product} still go to the new address? It has not shipped yet."),
    ("Voucher not accepted", "The code WELCOME10 is refused when I add {product}. It should work until Sunday."),
    ("Does it fit?", "I have the older model. Will {product} fit, or do I need another size?"),
    ("Charged twice", "My card was charged twice for {product}. Please refund one of the two payments today."),
    ("Lovely, thank you!", "{product} is even nicer than in the pictures. Just wanted to say thanks. 🙂"),
    ("When will it be back?", "{product} has been sold out for a month. When do you expect it again?"),
    ("STILL NO ANSWER!!!", "THIS IS THE THIRD TIME I WRITE ABOUT {product}. ANSWER ME NOW!!!"),
)
"""Subjects and first messages."""

ANSWERS = (
    "Thank you for writing to us. I have asked the warehouse and will come back to you today.",
    "I am sorry about that. A replacement leaves tomorrow morning.",
    "We have refunded you; depending on your bank it takes three to five days.",
    "Could you send us a picture of the parcel, please?",
)
"""What agents wrote."""

FURTHER = (
    "Thanks. And when will that be?",
    "Nothing has come yet. Please look again.",
    "Here is what you asked for, see above.",
    "Perfect, that helps.\n\nBest wishes",
)
"""What customers wrote afterwards."""

NOTES = (
    "Spoke to the carrier: the parcel is in their depot.",
    "Customer prefers to be called in the afternoon.",
    "Third complaint this year, be generous.",
)
"""What agents noted for each other."""

PRODUCTS = (
    ("HY-001", "Sock wool 100 g, fog", 850),
    ("HY-002", "Merino DK 50 g, slate", 720),
    ("HY-003", "Yarn bowl, stoneware", 3400),
    ("PS-001", "Front light 60 lux", 5900),
    ("PS-002", "Pannier 20 l, rolled top", 7400),
    ("PS-003", "Patch kit", 390),
    ("GT-001", "Teapot, cast iron", 6450),
    ("GT-002", "Darjeeling 100 g", 1290),
)
"""What shops sell: id, name, price in cents."""
