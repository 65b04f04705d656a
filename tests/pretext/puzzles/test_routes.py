"""The routes against a search that walks the grid step by step."""

from itertools import pairwise, product

import pytest
import torch

from medssl.pretext.puzzles import route_pool, shortest_routes

Place = tuple[int, ...]
Route = tuple[Place, ...]


def walk(start: Place, goal: Place) -> list[Route]:
    """Every shortest walk over neighbouring tiles, found by trying every step that leads nearer to the goal."""
    if start == goal:
        return [(start,)]
    routes: list[Route] = []
    for axis in range(len(start)):
        for step in (-1, 1):
            after = tuple(place + step * (number == axis) for number, place in enumerate(start))
            if abs(goal[axis] - after[axis]) < abs(goal[axis] - start[axis]):
                routes += [(start, *rest) for rest in walk(after, goal)]
    return routes


def all_routes(spatial_dims: int) -> set[Route]:
    corners = list(product((0, 2), repeat=spatial_dims))
    return {route for corner in corners for route in walk(corner, tuple(2 - place for place in corner))}


def as_tuples(routes: torch.Tensor) -> list[Route]:
    return [tuple(tuple(place) for place in route) for route in routes.tolist()]


@pytest.mark.parametrize(("spatial_dims", "count", "length"), [(2, 24, 5), (3, 720, 7)])
def test_the_24_and_the_720_routes_are_those_that_a_walk_over_the_grid_finds(
    spatial_dims: int, count: int, length: int
) -> None:
    routes = shortest_routes(spatial_dims)
    assert routes.shape == (count, length, spatial_dims)
    assert routes.dtype == torch.int64
    expected = all_routes(spatial_dims)
    assert len(expected) == count
    assert set(as_tuples(routes)) == expected  # as many as the routes, so none comes twice


@pytest.mark.parametrize(("spatial_dims", "count"), [(2, 24), (3, 48)])
@pytest.mark.parametrize("seed", [0, 1, 12345])
def test_the_pool_holds_six_routes_from_every_corner(spatial_dims: int, count: int, seed: int) -> None:
    routes = as_tuples(route_pool(spatial_dims, seed=seed))
    assert len(routes) == len(set(routes)) == count
    assert set(routes) <= all_routes(spatial_dims)
    corners = list(product((0, 2), repeat=spatial_dims))
    assert {corner: sum(route[0] == corner for route in routes) for corner in corners} == dict.fromkeys(corners, 6)


@pytest.mark.parametrize("spatial_dims", [2, 3])
def test_a_route_never_visits_a_tile_twice_and_moves_by_one_tile(spatial_dims: int) -> None:
    for route in as_tuples(route_pool(spatial_dims)):
        assert len(set(route)) == len(route)
        assert all(place in (0, 2) for place in (*route[0], *route[-1]))
        assert all(first != last for first, last in zip(route[0], route[-1], strict=True))
        for before, after in pairwise(route):
            assert sum(abs(a - b) for a, b in zip(before, after, strict=True)) == 1


def test_the_pool_depends_on_its_seed_alone() -> None:
    state = torch.get_rng_state()
    pool = route_pool(3, seed=7)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(99)
    assert torch.equal(route_pool(3, seed=7), pool)
    assert set(as_tuples(route_pool(3, seed=8))) != set(as_tuples(pool))
    # In 2D the seed has nothing to choose: all 24 are in, at most in another order.
    assert set(as_tuples(route_pool(2, seed=7))) == set(as_tuples(route_pool(2, seed=8)))


@pytest.mark.parametrize(("spatial_dims", "per_corner"), [(2, 1), (2, 3), (3, 1), (3, 90)])
def test_other_numbers_of_routes_per_corner(spatial_dims: int, per_corner: int) -> None:
    routes = as_tuples(route_pool(spatial_dims, per_corner))
    assert len(set(routes)) == 2**spatial_dims * per_corner


@pytest.mark.parametrize(("spatial_dims", "per_corner", "limit"), [(2, 7, 6), (2, 0, 6), (3, 91, 90), (3, -1, 90)])
def test_more_routes_than_there_are_is_refused_with_the_limit(spatial_dims: int, per_corner: int, limit: int) -> None:
    with pytest.raises(ValueError, match=f"between 1 and {limit} in {spatial_dims}D, got {per_corner}"):
        route_pool(spatial_dims, per_corner)


@pytest.mark.parametrize("spatial_dims", [1, 4])
def test_a_grid_has_two_or_three_dimensions(spatial_dims: int) -> None:
    with pytest.raises(ValueError, match="spatial_dims must be 2 or 3"):
        shortest_routes(spatial_dims)
