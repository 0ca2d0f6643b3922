"""Muon (momentum, orthogonalised by Newton-Schulz) for the blocks' matrices, AdamW for everything else."""

import torch


def orthogonalise(matrix, iterations=5):
    """The quintic Newton-Schulz iteration of K. Jordan's Muon: pushes all singular values to about one."""
    x = matrix
    transposed = x.size(-2) > x.size(-1)
    if transposed:
        x = x.mT
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(iterations):
        a = x @ x.mT
        x = 3.4445 * x + (-4.7750 * a + 2.0315 * a @ a) @ x
    return x.mT if transposed else x


class Muon(torch.optim.Optimizer):
    def __init__(self, parameters, lr, momentum=0.95, weight_decay=0.0):
        super().__init__(parameters, dict(lr=lr, momentum=momentum, weight_decay=weight_decay))

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is None:
                    continue
                state = self.state[parameter]
                if not state:
                    state["momentum"] = torch.zeros_like(parameter)
                buffer = state["momentum"].lerp_(parameter.grad, 1 - group["momentum"])
                update = parameter.grad.lerp(buffer, group["momentum"])
                # A fused matrix (q, k, v and both mlp halves in one) is orthogonalised part by part.
                parts = update.split(group.get("split") or update.size(0))
                # 0.2*sqrt(max) gives the update the size of an AdamW step, so both share one learning rate.
                update = torch.cat([orthogonalise(p) * (0.2 * max(p.shape) ** 0.5) for p in parts])
                parameter.mul_(1 - group["lr"] * group["weight_decay"]).add_(update, alpha=-group["lr"])


class Optimizers:
    """Both optimizers behind one learning-rate factor."""

    def __init__(self, muon_groups, adam_parameters, muon_lr, adam_lr, weight_decay=0.0):
        self.muon = Muon(muon_groups, lr=muon_lr, weight_decay=weight_decay)
        self.adam = torch.optim.AdamW(adam_parameters, lr=adam_lr, betas=(0.9, 0.98), weight_decay=0.0)
        for optimizer in (self.muon, self.adam):
            for group in optimizer.param_groups:
                group["base_lr"] = group["lr"]

    def step(self, factor):
        for optimizer in (self.muon, self.adam):
            for group in optimizer.param_groups:
                group["lr"] = group["base_lr"] * factor
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)

    def state_dict(self):
        return {"muon": self.muon.state_dict(), "adam": self.adam.state_dict()}

    def load_state_dict(self, state):
        for name, optimizer in (("muon", self.muon), ("adam", self.adam)):
            base = [(g["base_lr"], g.get("split")) for g in optimizer.param_groups]
            optimizer.load_state_dict(state[name])
            for group, (lr, split) in zip(optimizer.param_groups, base):
                group["base_lr"] = lr
                group["split"] = split
