"""Wrong answers to the exercises of lesson 04."""

import torch


def not_centred(X):
    return X.T @ X / (len(X) - 1)


def divided_by_v(X):
    centred = X - X.mean(0)
    return centred.T @ centred / len(X)


def of_the_voxels(X):
    centred = X - X.mean(0)
    return centred @ centred.T / (len(X) - 1)


def masked_after(scores, edges):
    return scores.softmax(1) * edges


def score_zero(scores, edges):
    return (scores * edges).softmax(1)


def over_columns(scores, edges):
    return torch.where(edges, scores, -torch.inf).softmax(0)


def _largest(similarity, K):
    return torch.zeros_like(similarity, dtype=torch.bool).scatter(1, similarity.topk(K, dim=1).indices, True)


def by_product(f, K):
    return _largest((f @ f.T).fill_diagonal_(torch.inf), K)


def by_distance(f, K):
    return _largest(-torch.cdist(f, f), K)


def without_itself(f, K):
    unit = torch.nn.functional.normalize(f, dim=1)
    return _largest((unit @ unit.T).fill_diagonal_(-2), K)


WRONG = {
    "4.1": (not_centred, divided_by_v, of_the_voxels),
    "4.2": (masked_after, score_zero, over_columns),
    "4.3": (by_product, by_distance, without_itself),
}
