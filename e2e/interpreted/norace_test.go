//go:build !race

package interpreted

// raceDetector says whether the race detector watches.
const raceDetector = false
