"""Do the examples do what they say?"""
