package good

func inTests(a chan int) {
	select {
	case <-a:
	default:
	}
}
