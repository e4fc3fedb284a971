"""The edge: events come in by many doors and go to the inbox by one path.

    door.parse ─▶ path.take: check ─▶ plan ─▶ encode ─▶ produce ─▶ (the broker has it) ─▶ answer

A door only reads and writes a format; everything that decides about an event is in the path.
"""
