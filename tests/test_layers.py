"""The floors of the design: imports only go down, rooms of the ground floor do not know each other."""

import ast
import pathlib
import re

import pytest

PACKAGE = pathlib.Path(__file__).resolve().parents[1] / 'noisy_jax'
FLOORS = {
    **dict.fromkeys(('main', 'estimator', 'predict', 'export', 'reference'), 10),
    **dict.fromkeys(('pipeline', 'inference', 'clean', 'embed'), 9),
    **dict.fromkeys(('results', 'claim'), 8),
    **dict.fromkeys(('phases', 'settings'), 7),
    'methods': 6,
    **dict.fromkeys(('training', 'report', 'selection'), 5),
    **dict.fromkeys(('losses', 'models', 'data', 'labels'), 4),
    'workdir': 3,
    **dict.fromkeys(('outputs', 'locks', 'layout', 'labels_csv', 'cli'), 2),
    **dict.fromkeys(('config', 'schedule', 'files', 'json_files', 'spreadsheet', 'streams', 'optional'), 1),
    **dict.fromkeys(('errors', 'interrupts'), 0),
}


def _room(path: pathlib.Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix('.py')


def _imported_rooms(path: pathlib.Path) -> set[str]:
    rooms = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f'{path}: relative imports hide the floor'
            names = [f'{node.module}.{alias.name}' for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        rooms |= {name.split('.')[1] for name in names if name.startswith('noisy_jax.')}
    return rooms


@pytest.mark.parametrize('path', sorted(PACKAGE.rglob('*.py')), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_down(path):
    if path == PACKAGE / '__init__.py':
        assert not _imported_rooms(path)
        return
    room = _room(path)
    for imported in _imported_rooms(path) - {room}:
        assert FLOORS[imported] < FLOORS[room], f'{room} (floor {FLOORS[room]}) imports {imported}'


def test_the_floors_are_those_that_are_written_down():
    lines = re.findall(r'^    ([0-9]+)  (.*)$', (PACKAGE.parent / 'CONTRIBUTING.md').read_text(), re.MULTILINE)
    written = {name: int(floor) for floor, names in lines for name in re.split('   ', names.strip())[0].split()}
    assert written == FLOORS


def test_only_loop_and_evaluate_jit_steps():
    # knn jits its own search and heads their scan, compiling tries options out on nothing.
    jitting = {
        str(path.relative_to(PACKAGE))
        for path in PACKAGE.rglob('*.py')
        if 'jax.jit' in path.read_text() and path.parent.name == 'training'
    }
    assert jitting == {f'training/{name}.py' for name in ('loop', 'evaluate', 'knn', 'compiling', 'heads')}
