"""The numbers that the questions are answered with: rank correlation, rank of gradients, likeness of kernels."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["alike", "effective_rank", "participation_ratio", "ranks", "spearman", "spectra_alike"]


def ranks(values: Tensor) -> Tensor:
    """Places in ascending order along the last dimension, from 1; equal values share their mean place.

    Reference: Spearman, https://doi.org/10.2307/1412159

    Example:
        >>> ranks(torch.tensor([3.0, 1.0, 3.0]))
        tensor([2.5000, 1.0000, 2.5000], dtype=torch.float64)

    Args:
        values: (..., n).
    """
    one, other = values[..., :, None], values[..., None, :]
    return (other < one).double().sum(-1) + ((other == one).double().sum(-1) + 1) / 2


def spearman(one: Tensor, other: Tensor) -> Tensor:
    """Rank correlation along the last dimension, from -1 to 1; nan where all values of a list are equal.

    Reference: Spearman, https://doi.org/10.2307/1412159

    Example:
        >>> spearman(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([1.0, 3.0, 2.0])).item()
        0.5

    Args:
        one, other: (..., n), of the same shape.
    """
    a, b = (r - r.mean(-1, keepdim=True) for r in (ranks(one), ranks(other)))
    return (a * b).sum(-1) / (a.square().sum(-1) * b.square().sum(-1)).sqrt()


def participation_ratio(rows: Tensor) -> float:
    r"""How many directions the energy of some vectors is spread over: 1 … the number of vectors.

    Reference: Gao and Ganguli, https://doi.org/10.1016/j.conb.2015.04.003

    .. math:: \frac{(\sum_i s_i^2)^2}{\sum_i s_i^4}

    Example:
        >>> participation_ratio(torch.eye(3)), participation_ratio(torch.ones(3, 5))
        (3.0, 1.0)

    Args:
        rows: (K, D), a vector a row; s are their singular values.
    """
    energy = torch.linalg.svdvals(rows.double()).square()
    return round((energy.sum().square() / energy.square().sum()).item(), 9)


def effective_rank(rows: Tensor) -> float:
    r"""The same with an entropy: exp of that of the singular values' shares.

    Reference: Roy and Vetterli, https://www.eurasip.org/Proceedings/Eusipco/Eusipco2007/Papers/a5p-h05.pdf

    .. math:: \exp\Big(-\sum_i p_i \log p_i\Big), \qquad p_i = \frac{s_i}{\sum_j s_j}

    Example:
        >>> effective_rank(torch.eye(3)), effective_rank(torch.ones(3, 5))
        (3.0, 1.0)

    Args:
        rows: (K, D), a vector a row; s are their singular values.
    """
    values = torch.linalg.svdvals(rows.double())
    share = values / values.sum()
    return round(torch.special.entr(share).sum().exp().item(), 9)


def alike(kernels: Tensor) -> float:
    """Mean cosine of the K · (K - 1) / 2 pairs: 1 for equal kernels, about 0 for kernels drawn at random.

    Reference: none

    Example:
        >>> alike(torch.ones(4, 2, 3, 3)), alike(torch.tensor([[1.0, 0.0], [0.0, 1.0]]))
        (1.0, 0.0)

    Args:
        kernels: (K, ...), at least two.
    """
    rows = torch.nn.functional.normalize(kernels.double().flatten(1), dim=1)
    pairs = torch.triu_indices(len(rows), len(rows), 1)
    return round((rows @ rows.T)[pairs[0], pairs[1]].mean().item(), 9)


def spectra_alike(kernels: Tensor) -> float:
    """The same of what the kernels do to each frequency: of the amplitudes of their Fourier transforms.

    Reference: Chen et al., *Frequency Dynamic Convolution*, https://arxiv.org/abs/2503.18783

    Amplitudes are positive, so even random kernels are far from 0: compare with those before training.

    Example:
        >>> spectra_alike(torch.stack([torch.eye(3), torch.eye(3).roll(1, 0)]))
        1.0

    Args:
        kernels: (K, ..., kh, kw), at least two.
    """
    return alike(torch.fft.fft2(kernels.double()).abs())
