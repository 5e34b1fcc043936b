"""The forecast: what would fitting a model and showing it other files gain, before any long training?"""
