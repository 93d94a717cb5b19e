"""How pages become modules."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs.conftest import Block, blocks_of, compiled

PAGE = """\
# A page

```python
first = 1
```

1. In a list:

   ```python
   second = first + 1
   ```

```console
$ not python
```

```python no-run
await somewhere()
```

````python
text = '''
```
'''
raise RuntimeError(second)
````
"""


def test_blocks_keep_their_lines_and_marks() -> None:
    assert blocks_of(PAGE) == [
        Block("first = 1\n", 4, True),
        Block("second = first + 1\n", 10, True),
        Block("await somewhere()\n", 18, False),
        Block("text = '''\n```\n'''\nraise RuntimeError(second)\n", 22, True),
    ]


def test_an_error_is_found_where_the_page_says_it() -> None:
    blocks = [block for block in blocks_of(PAGE) if "somewhere" not in block.code]
    with pytest.raises(RuntimeError, match="2") as raised:
        exec(compiled(blocks, Path("page.md")), {})
    assert raised.traceback[-1].lineno + 1 == 25


def test_a_block_that_does_not_run_must_compile() -> None:
    with pytest.raises(SyntaxError) as raised:
        compiled(blocks_of("\n```python no-run\nif:\n```\n"), Path("page.md"))
    assert raised.value.lineno == 3


def test_an_unknown_mark_is_an_error() -> None:
    with pytest.raises(ValueError, match="line 1"):
        blocks_of("```python norun\n1\n```\n")
