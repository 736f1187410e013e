import numpy as np


class Tensor:
    def __init__(self, data):
        self.data = data


class Tape:
    def __init__(self, operators):
        self.operators = operators
        self.records = []
        self.gradients = {}
        self.spent = False

    def watch(self, array):
        return Tensor(array)

    def apply(self, name, *inputs, **attributes):
        operator = self.operators[name]
        arrays = [each.data if isinstance(each, Tensor) else each for each in inputs]
        y, saved = operator.forward(*arrays, **attributes)
        output = Tensor(y)
        self.records.append((inputs, output, saved, attributes, operator.backward))
        return output

    def backward(self, loss):
        if self.spent:
            raise RuntimeError("backward was called already")
        self.spent = True
        self.gradients = {id(loss): np.ones_like(loss.data)}
        self.alive = []
        while self.records:
            inputs, output, saved, attributes, backward = self.records.pop()
            dy = self.gradients.get(id(output))
            if dy is None:
                continue
            for tensor, gradient in zip(inputs, backward(dy, saved, **attributes), strict=False):
                if isinstance(tensor, Tensor) and gradient is not None:
                    self.alive.append(tensor)
                    earlier = self.gradients.get(id(tensor))
                    self.gradients[id(tensor)] = gradient if earlier is None else earlier + gradient

    def gradient(self, tensor):
        return self.gradients.get(id(tensor))
