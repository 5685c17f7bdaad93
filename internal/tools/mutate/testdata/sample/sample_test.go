package sample

import "testing"

func TestSteps(t *testing.T) {
	for _, tt := range []struct {
		n    int
		list []int
		want int
	}{{1, []int{5}, 1 + 1 + 1 + 5 - 100}, {2, []int{5}, 2 + 1 + 5}, {3, []int{5}, 5}, {2, nil, 0}, {2, []int{0, 4}, 7}} {
		if got, _ := Steps(tt.n, tt.list); got != tt.want {
			t.Errorf("Steps(%d, %v) = %d, want %d", tt.n, tt.list, got, tt.want)
		}
	}
}
