FROM	layer-cake-test-base	AS	x
	ENV	A	b	c
RUN	echo	a
	ENTRYPOINT	["show",	"tabs"]	
