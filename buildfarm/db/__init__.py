"""The database: engine, sessions, column types, migrations. Knows no table of any concept."""
