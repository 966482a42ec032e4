"""Writers of small archives, each in its distributor's exact layout."""
