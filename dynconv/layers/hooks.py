"""Forward hooks that end with their ``with`` block and reach nothing but it: no copy, no compiled code, no other thread's block.

Reference: forward hooks, https://docs.pytorch.org/docs/stable/generated/torch.nn.Module.html
"""

from __future__ import annotations

import copy
import copyreg
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from contextvars import ContextVar
from functools import lru_cache
from itertools import count
from threading import RLock
from typing import Any

import torch
from torch import nn

from .recomputation import parts

__all__: list[str] = []

Hook = Callable[[nn.Module, tuple[Any, ...], Any], Any]

_lock = RLock()  # held while the hooks of a block come or go: threads share modules, and the compiler
_numbers = count()
_entered: ContextVar[tuple[Block, ...]] = ContextVar("_entered", default=())


@contextmanager
def hooked(modules: Mapping[str, nn.Module], hook: Callable[[str], Hook], *, changes: bool = False) -> Iterator[None]:
    """Give every module the forward hook ``hook(name)``; take all of them away at the end, also after an error.

    With ``changes``, what a hook returns takes the output's place. Such hooks run in the order in which their blocks were
    entered; those that only look run after them, whichever came first, and see what is used.

    - A block holds in the thread (or task) that entered it, and in those that have entered none of their own.
    - What runs again in a backward pass is not looked at twice, and is changed as it was the first time, also after the end.
    - Compiled code that holds one of the modules is left for as long as the block lasts; all other goes on. (What would be
      compiled anew meanwhile runs eagerly, and is compiled afterwards.)
    - Copies made inside the block, pickled ones too, are free of its hooks.
    """
    block = Block([(module, hook(name)) for name, module in modules.items()], changes)
    with block.entered():
        yield


class Block:
    """The hooks of one ``with`` block."""

    def __init__(self, hooks: list[tuple[nn.Module, Hook]], changes: bool) -> None:
        self.hooks, self.changes = hooks, changes
        self.order = (not changes, next(_numbers))
        self.is_open, self.users, self.installed = False, 0, ExitStack()
        self.around = [part.key for part in parts()]  # a part that enters the block itself will do so again

    @contextmanager
    def entered(self) -> Iterator[None]:
        with self._installed():
            self.is_open = True
            _entered.set((*_open(), self))
            try:
                yield
            finally:
                self.is_open = False
                _entered.set(_open())

    def again(self) -> AbstractContextManager[None]:
        """For a second run: the hooks are back, if the block has ended."""
        return self._installed()

    @contextmanager
    def _installed(self) -> Iterator[None]:
        with _lock:
            if not self.users:  # a second run may come inside the block, or inside another second run
                self._install()
            self.users += 1
        try:
            yield
        finally:
            with _lock:
                self.users -= 1
                if not self.users:
                    self.installed.close()

    def _install(self) -> None:
        with ExitStack() as stack:
            stack.enter_context(_not_compiled())
            for module, function in self.hooks:
                stack.enter_context(_Hook(self, module, function).installed())
            self.installed = stack.pop_all()

    def acts(self, module: nn.Module) -> bool:
        """Whether the run under way is one of this block's; if it is, so is its repetition."""
        acts, inside = self.is_open and self._mine(module), []
        for part in parts():
            if any(part.key is key for key in self.around):
                break
            if part.again:
                acts = self in part.repeated()
                break
            inside.append(part)
        if acts and self.changes:
            for part in inside:
                part.repeat(self)
        return acts

    def _mine(self, module: nn.Module) -> bool:
        own = [b for b in _open() if b.changes == self.changes and any(m is module for m, _ in b.hooks)]
        return not own or self in own


def _open() -> tuple[Block, ...]:
    return tuple(block for block in _entered.get() if block.is_open)


class _Hook:
    def __init__(self, block: Block, module: nn.Module, function: Hook) -> None:
        self.block, self.module, self.function = block, module, function

    def __call__(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
        if not self.block.acts(self.module):
            return None
        result = self.function(module, args, output)
        return result if self.block.changes else None

    @contextmanager
    def installed(self) -> Iterator[None]:
        handle = self.module.register_forward_hook(self)
        try:
            _sort(self.module)
            _watch(self.module)
            yield
        finally:
            handle.remove()
            _watch(self.module)


def _own(module: nn.Module) -> dict[int, _Hook]:
    return {key: hook for key, hook in module._forward_hooks.items() if isinstance(hook, _Hook)}


def _sort(module: nn.Module) -> None:
    """Bring our hooks into order, behind all others."""
    for key, _ in sorted(_own(module).items(), key=lambda entry: entry[1].block.order):
        module._forward_hooks.move_to_end(key)  # type: ignore[attr-defined]


# ------------------------------------------------------------------------------------------------ copies, compiled code


class _Watched:
    """A module with hooks of ours, for as long as it has any: the class says so to whoever copies it, and to torch.compile.

    Compiled code holds good for a module's class and for the entries of its dictionary: of another one it is left.
    """

    def __reduce_ex__(self, protocol: Any) -> Any:
        make, arguments, *state = _bare(self).__reduce_ex__(protocol)
        if make.__name__ == "__newobj__":  # which pickle takes only of an object's very own class
            make, arguments = copyreg._reconstructor, (arguments[0], object, None)  # type: ignore[attr-defined]
        return make, arguments, *state


@lru_cache(maxsize=256)
def _watched(plain: Any) -> type[Any]:
    space: dict[str, Any] = {name: getattr(plain, name) for name in ("__module__", "__qualname__", "__doc__")}
    if hasattr(plain, "__deepcopy__"):  # as torch.fx's modules have: it comes before __reduce_ex__
        # a module that refers to itself gets here again: it is one copy
        space["__deepcopy__"] = lambda self, memo: copy.deepcopy(memo.setdefault((_bare, id(self)), _bare(self)), memo)
    if hasattr(plain, "__copy__"):
        space["__copy__"] = lambda self: copy.copy(_bare(self))
    make: Any = type(plain)
    watched: type[Any] = make(plain.__name__, (_Watched, plain), space | {"_plain": plain})
    return watched


def _watch(module: nn.Module) -> None:
    """Give a module the class that it should have now."""
    kind: Any = type(module)
    if _own(module) and not issubclass(kind, _Watched):
        object.__setattr__(module, "__class__", _watched(kind))  # past a compiled wrapper's own __setattr__
        module.__dict__["_watched"] = True
    elif not _own(module) and "_plain" in vars(kind):
        object.__setattr__(module, "__class__", vars(kind)["_plain"])
        del module.__dict__["_watched"]


def _bare(module: Any) -> Any:
    """A shallow copy without our hooks, of the class the module really has."""
    plain = vars(type(module))["_plain"]
    bare = object.__new__(plain)
    bare.__dict__.update(module.__dict__)
    del bare.__dict__["_watched"]
    own = _own(module)
    bare.__dict__["_forward_hooks"] = OrderedDict(
        (key, hook) for key, hook in module._forward_hooks.items() if key not in own
    )
    return bare


class _Compiler:
    """How many blocks are open, and what torch.compile is told meanwhile."""

    blocks = 0
    stance: Any = None


@contextmanager
def _not_compiled() -> Iterator[None]:
    if not _Compiler.blocks:
        _Compiler.stance = _eager_if_new()
    _Compiler.blocks += 1
    try:
        yield
    finally:
        _Compiler.blocks -= 1
        if not _Compiler.blocks:
            _Compiler.stance.__exit__(None, None, None)


def _eager_if_new() -> Any:
    told = torch.compiler.set_stance("eager_on_recompile")
    if getattr(getattr(told, "prev", None), "stance", None) == "force_eager":  # nothing is to be compiled: so be it
        told.__exit__(None, None, None)
    return told
