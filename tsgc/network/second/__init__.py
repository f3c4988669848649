"""The second version of TSGCNeXt: several views of a clip in one network, kept apart until late."""
