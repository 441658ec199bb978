"""What the pages of every role share: who may talk to them, how they are drawn, what they look like.

It knows no role. The till's page, the staff's page of a station and the office's page of the central
server each bring their own templates, stylesheet and rules.
"""
