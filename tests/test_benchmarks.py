"""What the experiments compute from programs and traces, against hand values; nothing is timed."""

import os
import subprocess
import sys
import tarfile

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from experiments import record
from experiments.accuracy import cifar10
from experiments.speed import profile_step, scaling
from experiments.speed import steps as bench_steps
from noisy_jax import losses, models
from noisy_jax.data import arrays, augment
from noisy_jax.methods.classification import classification_step
from noisy_jax.training import optim, state, steps

RESNET18_MULTIPLY_ADDS = 0.5556e9  # of one 32x32 image, with the 3x3 stem


def floats(*shape):
    return jax.ShapeDtypeStruct(shape, jnp.float32)


def counted(function, *arguments):
    return profile_step.flops(jax.make_jaxpr(function)(*arguments))


def test_flops_of_matrix_products():
    assert counted(jnp.matmul, floats(3, 5), floats(5, 7)) == 2 * 3 * 5 * 7
    assert counted(jnp.matmul, floats(4, 3, 5), floats(4, 5, 7)) == 2 * 4 * 3 * 5 * 7


def test_flops_of_a_convolution_and_of_its_gradients():
    def conv(x, kernel):
        return jax.lax.conv_general_dilated(
            x, kernel, (2, 2), ((1, 1), (1, 1)), dimension_numbers=('NHWC', 'HWIO', 'NHWC')
        )

    arguments = floats(2, 8, 8, 3), floats(3, 3, 3, 16)
    forward = 2 * (2 * 4 * 4 * 16) * (3 * 3 * 3)
    assert counted(conv, *arguments) == forward
    # The gradients by image and by kernel have as many multiply-adds each; the zeros between strides do not count.
    both = jax.value_and_grad(lambda x, kernel: jnp.sum(conv(x, kernel)), argnums=(0, 1))
    assert counted(jax.jit(both), *arguments) == 3 * forward


def test_flops_of_a_scan_count_every_turn_and_of_a_branch_the_largest():
    def scanned(x, w):
        return jax.lax.scan(lambda carry, _: (jnp.tanh(carry @ w), None), x, length=6)[0]

    assert counted(jax.jit(scanned), floats(4, 5), floats(5, 5)) == 6 * 2 * 4 * 5 * 5

    def branched(x):
        return jax.lax.cond(x[0, 0] > 0, lambda x: x @ x, lambda x: x @ x @ x, x)

    assert counted(branched, floats(3, 3)) == 2 * 2 * 3**3


def test_flops_of_resnet18():
    network = models.create({'encoder': 'resnet18'}, num_classes=10)
    optimizer = optim.optimizer(
        {'learning_rate': 0.1, 'weight_decay': 0.0}, epochs=1, steps_per_epoch=1, batch_size=256
    )
    image = jnp.zeros((1, 32, 32, 3))
    start = jax.eval_shape(
        lambda key: state.create(network.init(key, image, train=False), optimizer, optim.CLASSIFIER), jax.random.key(0)
    )
    one = counted(lambda v: network.apply(v, image, train=False, method='embed'), start.variables)
    assert one == pytest.approx(2 * RESNET18_MULTIPLY_ADDS, rel=0.01)

    # Three times as many, but for the gradient by the images, which nobody needs.
    normalise = steps.normaliser((0.5,) * 3, (0.25,) * 3)
    learner = steps.Learner(network, optimizer, augment.policy('none'), normalise, optim.CLASSIFIER)
    step = classification_step(learner, losses.criterion('ce'))
    numbers = jax.ShapeDtypeStruct((2,), jnp.int32)
    batch = {'image': jax.ShapeDtypeStruct((2, 32, 32, 3), jnp.uint8), 'label': numbers, 'index': numbers}
    trained = counted(step, start, batch | {'weight': floats(2)}, jax.random.key(0)) / 2
    stem, head = 2 * 32 * 32 * 64 * 27, 2 * 512 * 10
    assert trained == 3 * (one + head) - stem


def test_gaps_between_kernels():
    gaps = profile_step.gaps
    # Busy 10-20, 20-35 (two at once) and 40-50; idle 35-40 of 10-50.
    assert gaps([(40, 50), (10, 20), (20, 30), (22, 35), (23, 24)]) == (5 / 40, 5)
    assert gaps([(3, 4)]) == (0, 0)
    assert gaps([(0, 1), (2, 3), (9, 10)]) == (0.7, 6)


def test_a_trace_is_read(tmp_path):
    product = jax.jit(lambda x: jnp.tanh(x @ x))
    product(jnp.ones((64, 64))).block_until_ready()
    with jax.profiler.trace(str(tmp_path)):
        product(jnp.ones((64, 64))).block_until_ready()
    events = list(profile_step.kernels(next(tmp_path.rglob('*.xplane.pb'))))
    assert events
    assert all(end > start for _, start, end in events)


def test_kernels_are_told_apart_by_their_name_and_place():
    program = """
      %loop_fusion.3 = f32[8]{0} fusion(%a), kind=kLoop, metadata={op_name="jit(run)/augment/vmap()/mul" source="a.py"}
      ROOT %input_reduce_fusion = f32[8]{0} fusion(%b), metadata={op_name="jit(run)/jvp(N)/encoder/norm/reduce_sum"}
      %add.5 = f32[8]{0} add(%a, %b)
    """
    place = profile_step.places(program)
    assert set(place) == {'loop_fusion_3', 'input_reduce_fusion'}
    kinds = {
        'sm90_xmma_fprop_implicit_gemm_bf16bf16_cudnn': 'convolution',
        'nvjet_tst_128x64': 'matrix product',
        'loop_fusion_3': 'augmentation',
        'input_reduce_fusion': 'BatchNorm',
        'MemcpyD2D': 'copies',
        'loop_add_fusion': 'other elementwise',
        'input_reduce_fusion_1': 'other reductions',
    }
    assert {name: profile_step.kind_of(name, place.get(name, '')) for name in kinds} == kinds


def test_the_scopes_that_tell_kernels_apart_reach_the_program():
    case = bench_steps.Case('elr', 'float32', 4, 'cnn_small')
    data = bench_steps.images(8)
    step, start = bench_steps.build(case, data)
    batch = next(data.batches(0, 0, batch_size=4))
    text = jax.jit(step).lower(start, batch, jax.random.key(0)).compile().as_text()
    found = {profile_step.kind_of('fusion', place) for place in profile_step.places(text).values()}
    assert {'augmentation', 'BatchNorm', 'optimiser', 'convolution'} <= found


def test_collectives_are_read_from_a_program():
    program = """
      %all-reduce.1 = f32[64,128]{1,0} all-reduce(f32[64,128]{1,0} %x), replica_groups={{0,1}}, to_apply=%add
      %all-gather.2 = (bf16[8,4]{1,0}, s32[]) all-gather-start(bf16[4,4]{1,0} %y, s32[] %z), dimensions={0}
      %all-gather.3 = bf16[8,4]{1,0} all-gather-done((bf16[8,4]{1,0}, s32[]) %all-gather.2)
      %all-to-all.4 = pred[16]{0} all-to-all(pred[16]{0} %p), dimensions={0}
      %add.5 = f32[64,128]{1,0} add(f32[64,128]{1,0} %all-reduce.1, f32[64,128]{1,0} %all-reduce.1)
    """
    assert scaling.communication(program) == [
        ('all-reduce', [(64, 128)], 64 * 128 * 4),
        ('all-gather', [(8, 4), ()], 8 * 4 * 2 + 4),
        ('all-to-all', [(16,)], 16),
    ]


def test_a_tar_of_class_folders_is_decoded_once(tmp_path):
    for number, name in enumerate(('train/b/0', 'train/a/1', 'train/a/0', 'test/b/0')):
        file = tmp_path / f'{name}.png'
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((4, 4, 3), number, np.uint8)).save(file)
    with tarfile.open(tmp_path / 'images.tar.xz', 'w:xz') as archive:
        archive.add(tmp_path / 'train', 'cifar/train')
        archive.add(tmp_path / 'test', 'cifar/test')
    folder = cifar10.unpack(tmp_path / 'images.tar.xz', tmp_path / 'arrays')
    train, test = (arrays.load(split, str(folder)) for split in ('train', 'test'))
    assert train.class_names == test.class_names == ('a', 'b')
    assert (train.label.tolist(), train.image[:][:, 0, 0, 0].tolist()) == ([0, 0, 1], [2, 1, 0])
    assert (test.label.tolist(), test.image[:][:, 0, 0, 0].tolist()) == ([1], [3])
    (tmp_path / 'images.tar.xz').write_bytes(b'not needed any more')
    assert cifar10.unpack(tmp_path / 'images.tar.xz', folder) == folder


def test_gpu_experiments_need_no_tfds():
    program = 'import sys, experiments.speed.throughput; print(*sys.modules)'
    command = [sys.executable, '-c', program]
    done = subprocess.run(command, cwd=record.ROOT, check=True, capture_output=True, text=True)
    assert not {'tensorflow_datasets', 'tensorflow'} & set(done.stdout.split())


@pytest.mark.parametrize('way', [['experiments/accuracy/digits.py'], ['-m', 'experiments.accuracy.digits']])
def test_scripts_run_from_the_root_of_a_checkout(way):
    environment = {name: value for name, value in os.environ.items() if name != 'PYTHONPATH'}
    command = [sys.executable, *way, '--table']
    done = subprocess.run(command, cwd=record.ROOT, env=environment, check=True, capture_output=True, text=True)
    assert done.stdout.startswith('| noise | loss |')
