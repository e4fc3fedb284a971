"""The edge: events come in by many doors and go to the inbox by one path.

    door.parse ─▶ path: admit ─▶ check ─▶ plan ─▶ encode ─▶ produce ─▶ (broker has it) ─▶ answer

A door only reads and writes a format; everything that decides about an event is in the path.
"""
