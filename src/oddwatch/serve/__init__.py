"""Work that goes on: watching cameras, telling others what was seen."""
