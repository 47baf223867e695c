"""What a careless explainer does to a model and a process."""

import random

import numpy as np
import torch


def draws_from_torch(classifier, images):
    torch.rand(3)


def draws_from_numpy(classifier, images):
    np.random.rand(3)


def draws_from_python(classifier, images):
    random.random()


def trains_the_statistics(classifier, images):
    classifier.model.train()
    classifier.forward(images)


def calls_backward(classifier, images):
    classifier.forward(images).sum().backward()


def thaws(classifier, images):
    classifier.model.requires_grad_(requires_grad=True)


def leaves_a_hook(classifier, images):
    classifier.model.head.register_forward_hook(lambda module, args, output: output * 0.5)


def writes_a_buffer(classifier, images):
    batch_norm = next(m for m in classifier.model.modules() if isinstance(m, torch.nn.BatchNorm2d))
    batch_norm.running_var = batch_norm.running_var * 2.0


def does_all_harm(classifier, images):
    for harm in (draws_from_torch, draws_from_numpy, draws_from_python, thaws, trains_the_statistics, leaves_a_hook):
        harm(classifier, images)
    writes_a_buffer(classifier, images)
    calls_backward(classifier, images)


def fails():
    raise RuntimeError("no heatmap today")
