"""All that only the lessons need: the instruments, the exercises, data, figures, training, the pages.

`views` (the instruments) · `exercises` (checkers, known wrong answers) · `data`, `systems`, `tasks`, `networks` · `figures` ·
`train` · `site`. Nothing outside of this folder imports it. Its packages come with ``pip install 'dynconv[lessons]'``.
"""

from .packages import check_installed

check_installed()
