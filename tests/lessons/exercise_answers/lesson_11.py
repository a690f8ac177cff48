"""Three wrong answers to each exercise of lesson 11."""

import torch


def divides_by_all_voxels(pi, y):
    return torch.einsum("bkv,bmcv->bkmc", pi, y) / pi.shape[-1]


def hardens_the_regions(pi, y):
    hard = torch.nn.functional.one_hot(pi.argmax(1), pi.shape[1]).movedim(-1, 1).float()
    return torch.einsum("bkv,bmcv->bkmc", hard, y) / (hard.sum(-1)[:, :, None, None] + 1e-7)


def swaps_class_and_modality(pi, y):
    return (torch.einsum("bkv,bmcv->bkmc", pi, y) / (pi.sum(-1)[:, :, None, None] + 1e-7)).transpose(1, 2)


def scale(beta):
    return beta * len(beta) ** 0.5 / torch.linalg.vector_norm(beta)


def rewards_who_is_ahead(beta, distance, eta):
    return scale((beta + eta * (1 - distance / distance.mean())).clamp(0.1, 4))


def forgets_the_bounds(beta, distance, eta):
    return scale(beta - eta * (1 - distance / distance.mean()))


def keeps_the_sum(beta, distance, eta):
    moved = (beta - eta * (1 - distance / distance.mean())).clamp(0.1, 4)
    return moved * len(beta) / moved.sum()


WRONG = {
    "11.1": (divides_by_all_voxels, hardens_the_regions, swaps_class_and_modality),
    "11.2": (rewards_who_is_ahead, forgets_the_bounds, keeps_the_sum),
}
