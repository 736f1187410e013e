import numpy as np


def forward(x, gamma, beta, running_mean, running_variance, *, epsilon=1e-3, training=False):
    mean, variance = running_mean, running_variance
    if training:
        mean = x.mean((0, 1, 2))
        variance = ((x - mean) ** 2).mean((0, 1, 2))
    return (x - mean) * (gamma / np.sqrt(variance + epsilon)) + beta, (x, gamma, mean, variance)


def backward(dy, saved, *, epsilon=1e-3, training=False):
    x, gamma, mean, variance = saved
    r = 1 / np.sqrt(variance + epsilon)
    z = (x - mean) * r
    dbeta, dgamma = dy.sum((0, 1, 2)), (dy * z).sum((0, 1, 2))
    if not training:
        return gamma * r * dy, dgamma, dbeta, None, None
    M = x.size / x.shape[-1]
    return gamma * r * (dy - dbeta / M - z * dgamma / M), dgamma, dbeta, None, None
