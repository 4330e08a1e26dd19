

  	
FROM   layer-cake-test-base    AS   x  
   
   ENV    A=b      C=d   
	 
   CMD   [   "show"  ,   "white space"   ]   



