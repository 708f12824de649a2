package media

import (
	"math/rand/v2"
	"slices"
	"testing"
)

func TestShed(t *testing.T) {
	simulcast, camera, screen, muted := wish{top: 2}, wish{}, wish{screen: true}, wish{top: -1}
	const all = unlimited
	for name, tt := range map[string]struct {
		wishes []wish // the oldest first
		share  float64
		want   []int
	}{
		"nobody":                         {nil, 1, []int{}},
		"nothing":                        {[]wish{simulcast, camera}, 0, []int{all, all}},
		"a little is one step":           {[]wish{camera, camera}, 0.01, []int{all, -1}},
		"worse before paused":            {[]wish{camera, simulcast, camera}, 0.2, []int{all, 1, all}},
		"the newest first":               {[]wish{simulcast, simulcast, simulcast}, 2. / 9, []int{all, 1, 1}},
		"each a little before one a lot": {[]wish{simulcast, simulcast}, 3. / 6, []int{1, 0}},
		"then paused":                    {[]wish{simulcast, simulcast}, 5. / 6, []int{0, -1}},
		"screens last":                   {[]wish{screen, camera, screen}, 0.5, []int{all, -1, -1}},
		"a screen after all cameras":     {[]wish{screen, simulcast}, 0.75, []int{all, -1}},
		"all":                            {[]wish{screen, simulcast, camera, muted}, 1, []int{-1, -1, -1, all}},
		"who wants none is no gain":      {[]wish{camera, muted}, 0.5, []int{-1, all}},
	} {
		if got := shed(tt.wishes, tt.share); !slices.Equal(got, tt.want) {
			t.Errorf("%s: %v, want %v", name, got, tt.want)
		}
	}
}

// More is never more for anybody, and who came first never has less than who
// came later and wants as much.
func TestShedProperties(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		wishes := make([]wish, r.IntN(30))
		for i := range wishes {
			wishes[i] = wish{top: r.IntN(MaxLayers+1) - 1, screen: r.IntN(4) == 0}
		}
		before := shed(wishes, 0)
		for share := 0.; share <= 1; share += 0.125 {
			limits := shed(wishes, share)
			for i := range limits {
				if limits[i] > before[i] {
					t.Fatalf("share %v: %v after %v for %v", share, limits, before, wishes)
				}
				if i > 0 && wishes[i] == wishes[i-1] && limits[i] > limits[i-1] {
					t.Fatalf("share %v: %v: the newer one has more, for %v", share, limits, wishes)
				}
			}
			before = limits
		}
	}
}
