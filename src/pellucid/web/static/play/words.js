// What things are called on the page.

export const NAMES = {
  circles: "circles", xor: "XOR", gaussians: "two clouds", spiral: "spiral", moons: "moons", clouds: "three clouds",
  plane: "plane", hills: "hills", digits: "digits", own: "own CSV",
  suited: "as suits", glorot: "Glorot", he: "He", lecun: "LeCun", orthogonal: "orthogonal", small: "too small",
  large: "too large", zeros: "all zero", equal: "all equal", negative: "biases of -10",
  identity: "none", relu: "ReLU", leaky_relu: "leaky ReLU", elu: "ELU", selu: "SELU", gelu: "GELU", silu: "SiLU",
  cross_entropy: "cross-entropy", binary_cross_entropy: "binary cross-entropy", mean_squared_error: "squared error",
  mean_absolute_error: "absolute error", huber: "Huber", gradient_descent: "gradient descent", sgd: "SGD",
  momentum: "momentum", nesterov: "Nesterov", rmsprop: "RMSProp", adagrad: "AdaGrad", adam: "Adam", adamw: "AdamW",
  lion: "Lion", muon: "Muon", none: "none", batch: "batch", layer: "layer", layer_norm: "layer normalisation",
  batch_norm: "batch normalisation", "x1^2": "x1²", "x2^2": "x2²", "x1*x2": "x1·x2", "sin(x1)": "sin x1", "sin(x2)": "sin x2",
  accuracy: "accuracy", r2: "R²",
};

export const named = (name) => (Object.hasOwn(NAMES, name) ? NAMES[name] : name);

export const RATES = [0.00001, 0.0001, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10];
export const PACES = [[1, "1 update a picture"], [5, "5"], [20, "20"], [100, "100"], [500, "as fast as it goes"]];
export const BATCHES = [1, 5, 10, 20, 30, 50, 100, 0];

const RAISED = Object.fromEntries([..."0123456789-"].map((c, i) => [c, "⁰¹²³⁴⁵⁶⁷⁸⁹⁻"[i]]));

/** A number for a formula: four digits, a true minus sign, in brackets where it is negative and stands behind another. */
export function num(value, inside = false) {
  if (value === null || value === undefined) return "not a number";
  const size = Math.abs(value);
  let text = String(Number(value.toPrecision(4)));
  if (size !== 0 && (size < 1e-3 || size >= 1e5)) {
    const [front, power] = value.toExponential(2).split("e");
    text = `${Number(front)}×10${[...power.replace("+", "")].map((c) => RAISED[c]).join("")}`;
  }
  text = text.replace("-", "−");
  return inside && value < 0 ? `(${text})` : text;
}
