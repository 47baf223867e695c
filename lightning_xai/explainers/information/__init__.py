"""Information-theoretic methods: how much information the network needs from each place."""
