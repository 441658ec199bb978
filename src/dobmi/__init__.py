"""Do BMI: the payment system of Koperasi BMI. docs/architecture.md is the map."""
