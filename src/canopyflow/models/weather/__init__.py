"""Maps from weather alone: an autoencoder whose latents are regressions on weather (docs/weather.md).

``laws`` (what the encoder says of a map), ``latents`` (maps from weather to latents, one file each),
``autoencoder`` (both with encoder and decoder), ``forecast`` (the law of a map given weather),
``information`` (that law as extra information on clouded dates) and ``bundle`` (the saved model).
:mod:`canopyflow.training.weather` trains it.
"""
