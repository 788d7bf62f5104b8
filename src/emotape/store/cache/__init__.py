"""Results that were calculated before: equal sound, options, weights and arithmetic give the stored answer."""
