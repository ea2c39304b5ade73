"""Which products a customer is likely to buy next, learnt from the shop's own orders."""
