"""A loss, an encoder and a method are added by the changes that README.md and docs/ show."""

import os
import pathlib
import re
import shutil
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
_CHANGED = ('losses/classification', 'models/mlp', 'models/__init__', 'methods/small_loss', 'methods/__init__')


def test_the_examples_of_the_documentation(tmp_path):
    for part in ('noisy_jax', 'configs'):
        shutil.copytree(ROOT / part, tmp_path / part, ignore=shutil.ignore_patterns('__pycache__'))
    pages = [ROOT / 'README.md', *sorted((ROOT / 'docs').glob('*.md'))]
    text = '\n'.join(page.read_text() for page in pages)
    blocks = re.findall(r'```python\n# (noisy_jax/\S+)\n(.*?)```', text, re.DOTALL)
    assert {name for name, _ in blocks} >= {f'noisy_jax/{name}.py' for name in _CHANGED}
    for name, code in blocks:
        with (tmp_path / name).open('a') as file:
            file.write('\n\n' + code)
    command = [sys.executable, '-m', 'noisy_jax.main', '--config=configs/digits.py:loss=taylor,phases=base']
    command += ['--config.model.encoder=mlp', '--config.loss_settings.taylor.order=3', '--config.base.epochs=8']
    command += ['--config.data.limit=700', '--config.report.page=False']
    environment = {**os.environ, 'PYTHONPATH': str(tmp_path)}
    for name, more in (
        ('loss', []),
        (
            'method',
            ['--config.base.method=small_loss', '--config.small_loss.keep=0.5', '--config.small_loss.warmup_epochs=4'],
        ),
    ):
        said = [*command, *more, f'--workdir={name}']
        result = subprocess.run(said, cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert result.returncode == 0, result.stderr
        accuracy = float(re.search(r'base +Base +(\S+)', result.stdout).group(1))
        assert accuracy > 0.5
