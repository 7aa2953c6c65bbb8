"""Users, teams and API tokens: the lowest Django layer."""
