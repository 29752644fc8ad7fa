"""Accounts as their JSON, by which most tests read them: sim's three functions, `as_json()` called."""

import sim
from sim.account.layer_by_layer import simulate_layers


def simulate(*arguments, **options):
    """sim.simulate as JSON."""
    return sim.simulate(*arguments, **options).as_json()


def simulate_block(*arguments, **options):
    """sim.simulate_block as JSON."""
    return sim.simulate_block(*arguments, **options).as_json()


def simulate_model(*arguments, **options):
    """sim.simulate_model as JSON."""
    return sim.simulate_model(*arguments, **options).as_json()


def unfused(*arguments, **options):
    """The layers of a block one after another as JSON."""
    return simulate_layers(*arguments, **options).as_json()


def moved_bytes(account):
    """DRAM bytes of an account's JSON, read and written."""
    return account["dram"]["read_bytes"] + account["dram"]["write_bytes"]
