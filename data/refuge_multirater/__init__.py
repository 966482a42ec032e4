"""REFUGE-MultiRater: fundus photographs, disc and cup by seven ophthalmologists."""
