"""Optimisers, schedules, and what a parameter's path says about its decay and its rate; all optax transformations.

One contract with the models: the parameters of N stacked layers lie under the name "layers", with the layer as their first axis;
those of a layer below the stack, where there is one apart, under "first_layer".
"""
