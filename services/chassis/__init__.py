"""The shared undercarriage: what at least two services need, with no word of the market in it."""
