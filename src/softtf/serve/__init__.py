"""Prediction as a service: HTTP requests with images or texts, answered in batches by one learner (`softtf serve`).

    request --read, decode--> inputs --wait a few milliseconds--> batch --one pass--> answers

The inputs of a batch may belong to different tasks: they share the trunk, and above it each runs in the network of its
own task. Needs the extra `softtf[serve]`.
"""
