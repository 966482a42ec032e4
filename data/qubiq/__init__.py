"""QUBIQ: seven tasks on four organs, 3 to 7 raters."""
