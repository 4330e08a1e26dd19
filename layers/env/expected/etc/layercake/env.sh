# Written by the layer `env` from discovered values; an edit is lost with the next change of them.
export APP_DEBUG='false'
export APP_NAME='shop'
export APP_PORT='8080'
export EMPTY=''
export LINES='one
two
'
export PASSWORD='it'\''s $HOME `date` "quoted" \n #x'
export PLAIN='$HOME `date` "quoted" # x = y'
