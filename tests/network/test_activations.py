import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pellucid.errors import SettingError
from pellucid.network import activations
from pellucid.network.activations import Activation, LeakyReLU, ReLU, suited_initial
from pellucid.network.dense import Dense
from pellucid.network.initial import Initializer
from pellucid.network.layer import Layer


def test_tanh_is_the_textbook_formula_and_survives_where_that_does_not():
    x = np.linspace(-20, 20, 401)
    np.testing.assert_allclose(activations.tanh(jnp.asarray(x)), 2 / (1 + np.exp(-2 * x)) - 1, atol=1e-6)
    literal = jax.grad(lambda x: 2 / (1 + jnp.exp(-2 * x)) - 1)
    assert np.isnan(literal(-100.0))
    assert jax.grad(activations.tanh)(-100.0) == 0


def test_relu_has_gradient_0_at_0_and_does_not_hide_nan():
    assert jax.grad(activations.relu)(0.0) == 0
    assert jax.grad(activations.relu)(-0.0) == 0
    assert np.isnan(activations.relu(jnp.float32(np.nan)))


def test_gelu_keeps_its_digits_where_one_plus_erf_cancels():
    x = -5.0
    exact = -1.4332578e-06  # x * Phi(x), 8 digits
    assert float(activations.gelu(jnp.float32(x))) == pytest.approx(exact, rel=1e-5)


@pytest.mark.parametrize("name", sorted(n for n, found in Layer.registry.items() if issubclass(found, Activation)))
def test_every_activation_has_a_function_of_its_name_and_a_suited_initializer(name):
    layer = Activation.of(name)
    x = jnp.float32([[-2.0, 0.5, 3.0]])
    np.testing.assert_array_equal(layer.apply({}, x, None), getattr(activations, name)(x))
    assert isinstance(Initializer.of(suited_initial(layer)), Initializer)


def test_an_activation_is_found_by_text():
    assert Activation.of("leaky_relu:0.2") == Layer.of("leaky-relu:slope=0.2") == LeakyReLU(0.2)
    assert Activation.of("ReLU") == ReLU()


def test_unknown_activation_names_the_nearest():
    with pytest.raises(SettingError) as error:
        Activation.of("rleu")
    assert str(error.value) == "there is no activation 'rleu'\n  fix:      did you mean 'relu'?"
    with pytest.raises(SettingError, match="there is no activation 'dense'"):
        Activation.of("dense")
    assert Layer.of("dense:3") == Dense(3)
