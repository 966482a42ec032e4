"""RIGA: fundus photographs, disc and cup outlines drawn by six ophthalmologists."""
