"""What tests are made of: clips, shards, runs and scores, and ways to run the command on them."""
