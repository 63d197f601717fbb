"""Importing this registers every layer and every architecture that Pellucid brings, so that files may name them."""

import pellucid.network.activations
import pellucid.network.architectures
import pellucid.network.attention
import pellucid.network.conv
import pellucid.network.convolutional
import pellucid.network.foreign
import pellucid.network.norm
import pellucid.network.pool
import pellucid.network.recurrent
import pellucid.network.seq2seq
import pellucid.network.sequence_models
import pellucid.network.transformer  # noqa: F401
