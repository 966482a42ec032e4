"""The evidence study: methods x folds x seeds on several data sets, a small record a cell (docs/study_protocol.md)."""
