"""The phases of a run: their names and order."""

PHASES = ('base', 'pretrain', 'classify', 'select', 'contrast', 'finetune')
LABEL_FREE = ('simclr', 'moco')  # methods of pre-training that see no label
REPEATED = ('select', 'contrast', 'finetune')  # once for each of config.rounds
# The columns of the paper's tables.
PHASE_LISTS = {
    'base': ('base',),
    'pretrained': ('pretrain', 'classify'),
    'finetuned': ('pretrain', 'classify', 'select', 'contrast', 'finetune'),
    'all': PHASES,
}
