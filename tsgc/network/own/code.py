"""Networks of one's own: code that the user has named, and nothing else, is run.

A run's files say which code its network is: a name, and the SHA-256 of the file that defines it. They never
bring code along that is run: `admit` does that, for what `--network` (or `network=` in Python) names. Only a
package that is installed is found without, where its file is the one that the run was trained with.
"""

import difflib
import hashlib
import importlib
import importlib.util
import inspect
import sys
import sysconfig
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from importlib.metadata import packages_distributions
from pathlib import Path
from types import ModuleType
from typing import Any

from pipelines.errors import TsgcError, first_line
from tsgc.networks import FILE, MODULE, NETWORKS, mistaken_network, recorded_name

ROOT = Path(__file__).resolve().parents[3]
PROJECT = [ROOT / name for name in ("tsgc", "pipelines", "shards", "cli.py")]
STANDARD = Path(sysconfig.get_path("stdlib"))


@dataclass(frozen=True)
class OwnCode:
    """A network of one's own that the user has named; a file's code is run when its network is first made."""

    name: str
    """The name in a run's settings: `my.py:Net` or `package.module:Net`."""
    file: Path
    source: bytes
    run: Callable[[], tuple[Callable[..., Any], dict[str, bytes]]]
    """Runs the code; what it defines under that name, and `beside`."""

    @cached_property
    def _ran(self) -> tuple[Callable[..., Any], dict[str, bytes]]:
        return self.run()

    @property
    def make(self) -> Callable[..., Any]:
        """The class, or another callable that makes the network. Raises TsgcError: an error in its code."""
        return self._ran[0]

    @property
    def beside(self) -> dict[str, bytes]:
        """What a file imports from its own folder: path from there -> content. Runs the code, as `make`."""
        return self._ran[1]

    @property
    def digest(self) -> str:
        """SHA-256 of the file that defines it; `beside` has others."""
        return sha256(self.source)

    def changed(self, beside: Mapping[str, str]) -> str:
        """The first file of `beside` (path -> SHA-256) that is another by now; empty: none. Runs nothing."""
        for path, digest in beside.items():
            place = self.file.resolve().parent / path
            if not place.is_file():
                return f"{path} beside it, and {place} is not there"
            if (now := sha256(place.read_bytes())) != digest:
                return f"{path} of sha256 {digest[:12]} beside it, and {place} has changed since ({now[:12]})"
        return ""


def sha256(source: bytes) -> str:
    """A file's digest, as runs keep it."""
    return hashlib.sha256(source).hexdigest()


class UnnamedCodeError(TsgcError):
    """A network of one's own whose code the user has not named, or has named as it is not."""


_admitted: list[OwnCode] = []


def admit(given: str | Sequence[str] | None) -> None:
    """Let the code that the user names run where a run's network is it: FILE.py:NAME, package.module:NAME.

    A file is read here, and run when its network is made, after its SHA-256 was compared with the run's; a
    package is imported here. Words of the table need none. Raises TsgcError: no such file or module.
    """
    for name in [given] if isinstance(given, str) else given or ():
        if name in NETWORKS:
            continue
        if FILE.fullmatch(name):
            code = _from_file(name)
        elif MODULE.fullmatch(name):
            code = _from_module(name)
        else:
            raise TsgcError(f"network {name!r}: expected {mistaken_network(name)}")
        same = (code.name, code.file, code.source)
        _admitted[:] = [*(one for one in _admitted if (one.name, one.file, one.source) != same), code]


def find_code(name: str, digest: str, where: str, beside: Mapping[str, str] | None = None) -> OwnCode:
    """The code of a network that is named in a file or in settings (`where`), with that digest if given.

    `beside`: the SHA-256 of what its file imports from its own folder, by path.

    Raises TsgcError where the user has not named it and it is not installed, or it has changed since.
    """
    attribute = name.rpartition(":")[2]
    alike = [one for one in _admitted if one.name.rpartition(":")[2] == attribute]
    if digest:
        exact = [one for one in alike if one.digest == digest]
    else:
        exact = [one for one in alike if one.name == name]
    changed = [one.changed(beside or {}) for one in exact]
    if "" in changed:
        return [one for one, said in zip(exact, changed) if not said][-1]
    if exact:
        raise UnnamedCodeError(
            f"{where}: trained with {name} and {changed[-1]}; both are in the run's folder network/"
        )
    if not alike and MODULE.fullmatch(name) and (file := _installed(name)):
        if digest and sha256(file.read_bytes()) != digest:
            raise TsgcError(
                f"{where}: trained with {name} of sha256 {digest[:12]}, the installed file"
                f" has another ({file}); install that version, or give --network FILE.py:{attribute}"
            )
        return _from_module(name)
    if alike:
        found = alike[-1]
        why = "it has changed since" if found.name == name else "it is another, or has changed since"
        raise UnnamedCodeError(
            f"{where}: trained with {name} of sha256 {digest[:12]}, --network {found.name} has"
            f" {found.digest[:12]}: {why}; its file is the one in the"
            " run's folder network/, unless that was changed, too"
        )
    raise UnnamedCodeError(
        f"{where}: its network is {name}, code of your own, which no file may run by itself;"
        f" give --network {'PATH/' if FILE.fullmatch(name) else ''}{name}"
    )


def _from_file(given: str) -> OwnCode:
    path, _, attribute = given.rpartition(":")
    file = Path(path)
    try:
        source = file.read_bytes()
    except OSError as error:
        found = "no such file" if isinstance(error, FileNotFoundError) else error.strerror
        raise TsgcError(f"--network {given}: {file}: {found}; expected a Python file") from None
    return OwnCode(recorded_name(given), file, source, partial(_run_file, given, file, source, attribute))


def _run_file(
    given: str, file: Path, source: bytes, attribute: str
) -> tuple[Callable[..., Any], dict[str, bytes]]:
    module = ModuleType(f"tsgc_own_network_{file.stem}")
    module.__file__ = str(file.resolve())
    _look_beside(file.resolve())
    before, folder = set(sys.modules), file.resolve().parent
    sys.modules[module.__name__] = module  # dataclasses and torch.compile look there
    try:
        exec(compile(source, module.__file__, "exec"), module.__dict__)
    except (Exception, SystemExit) as error:
        way = "; give it as package.module:NAME" if "no known parent package" in str(error) else ""
        raise TsgcError(f"--network {given}: {described(error)}{way}") from error
    beside = {}
    for name in set(sys.modules) - before:
        found = Path(getattr(sys.modules[name], "__file__", None) or "/")
        if found.is_relative_to(folder) and found != folder / file.name and not _theirs(str(found)):
            beside[found.relative_to(folder).as_posix()] = found.read_bytes()
            _beside.add(name)
    return _attribute(module, attribute, given), dict(sorted(beside.items()))


_beside: set[str] = set()
"""Modules that files of one's own have imported, which each of them imports anew."""


def _look_beside(file: Path) -> None:
    """Let what lies beside a file be imported, as by `python my.py`; each file has its own."""
    beside = file.parent
    sys.path[:] = [str(beside), *(folder for folder in sys.path if folder != str(beside))]
    others = {one.file.resolve().parent for one in _admitted} - {beside}
    for name, module in list(sys.modules.items()):
        found = Path(getattr(module, "__file__", None) or "/")
        top = name.partition(".")[0]
        own = beside / f"{top}.py", beside / top / "__init__.py"
        again = name in _beside and found.is_relative_to(beside)
        if again or (not others.isdisjoint(found.parents) and any(path.is_file() for path in own)):
            del sys.modules[name]  # that of another file's folder, or perhaps of before it was changed


def _from_module(given: str) -> OwnCode:
    name, _, attribute = given.rpartition(":")
    try:
        module = importlib.import_module(name)
    except (Exception, SystemExit) as error:
        missing = isinstance(error, ModuleNotFoundError) and f"{name}.".startswith(f"{error.name}.")
        way = "; install it, or put the folder that holds it into PYTHONPATH" if missing else ""
        raise TsgcError(f"--network {given}: {described(error)}{way}") from error
    made = _attribute(module, attribute, given)
    # The class may be defined in another file of the package than the one that it is imported from.
    defined = sys.modules.get(getattr(made, "__module__", name), module)
    file = Path(inspect.getsourcefile(defined) or "")
    if not file.is_file():
        raise TsgcError(
            f"--network {given}: no Python source of {name} is here, which a run keeps; use a file"
        )
    return OwnCode(given, file, file.read_bytes(), lambda: (made, {}))


def _attribute(module: ModuleType, name: str, given: str) -> Callable[..., Any]:
    made = getattr(module, name, None)
    if not callable(made):
        own = module.__name__
        there = [key for key, value in vars(module).items() if getattr(value, "__module__", "") == own]
        near = difflib.get_close_matches(name, there, n=1)
        hint = f"did you mean {near[0]}?" if near else f"it defines {', '.join(there) or 'nothing'}"
        found = "not callable" if made is not None else f"no {name} in it"
        raise TsgcError(f"--network {given}: {found}; {hint}")
    return made


def _installed(name: str) -> Path | None:
    """The file of a module of an installed package, found without running it; None: not installed."""
    parts = name.rpartition(":")[0].split(".")
    if parts[0] not in packages_distributions():
        return None  # a folder that lies about, such as the run's own: not what pip has put there
    spec = importlib.util.find_spec(parts[0])
    if spec is None or spec.origin is None:
        return None
    if len(parts) == 1:
        return Path(spec.origin)
    place = Path(spec.origin).parent.joinpath(*parts[1:])
    files = (place.with_suffix(".py"), place / "__init__.py")
    return next((file for file in files if file.is_file()), None)


def described(error: BaseException) -> str:
    """An error of the user's code in one line: what, and where in that code."""
    if isinstance(error, SyntaxError):
        return f"SyntaxError: {error.msg} ({Path(error.filename or '?').name}, line {error.lineno})"
    steps = [step for step in traceback.extract_tb(error.__traceback__) if not _theirs(step.filename)]
    where = f" ({Path(steps[-1].filename).name}, line {steps[-1].lineno})" if steps else ""
    return f"{type(error).__name__}: {first_line(error, 300)}{where}"


def _theirs(file: str) -> bool:
    """Whether code lies in a library, or in this project."""
    path = Path(file)
    library = "site-packages" in path.parts or path.is_relative_to(STANDARD)
    return file.startswith("<") or library or any(map(path.is_relative_to, PROJECT))
