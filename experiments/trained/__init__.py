"""Networks that were really trained, by others: does their attention vary, and does it matter?"""
