"""What the models are worth to a shop: learnt from one log of orders, judged by a later one, beside plain baselines."""
